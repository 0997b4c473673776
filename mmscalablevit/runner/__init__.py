"""MMEngine's Runner for trainings that survive faults."""
