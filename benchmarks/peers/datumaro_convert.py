"""What a user of datumaro runs: import, shapes to masks, export index masks of VOC.

python datumaro_convert.py SOURCE FORMAT FOLDER
"""

import sys
import warnings

warnings.simplefilter("ignore")

import datumaro  # noqa: E402

dataset = datumaro.Dataset.import_from(sys.argv[1], sys.argv[2])
dataset.transform("polygons_to_masks")
dataset.export(sys.argv[3], "voc_segmentation", save_media=True)
