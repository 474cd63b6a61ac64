"""split: one data set becomes train, val and test, without tearing a group."""
