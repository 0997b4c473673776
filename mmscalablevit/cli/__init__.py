"""What the command-line tools share: configs and their options, devices, processes."""
