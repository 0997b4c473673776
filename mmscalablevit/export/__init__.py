"""Models outside PyTorch: graphs in files, and models whose graphs are such files."""
