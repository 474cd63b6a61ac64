"""The steps: a folder each, with its command line, its KFP spec (component.py) and its work."""
