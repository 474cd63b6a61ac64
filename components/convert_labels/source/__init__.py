"""Reading what the user gave: fetching it, listing its files, finding the image of a label."""
