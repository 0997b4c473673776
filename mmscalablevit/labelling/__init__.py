"""Making label maps for token labelling, with a classifier as teacher."""
