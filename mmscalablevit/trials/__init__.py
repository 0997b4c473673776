"""Models of other projects with a backbone of this package, tried for two steps."""
