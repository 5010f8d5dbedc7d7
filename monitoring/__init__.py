"""What is checked of a period of service, and when that leads to a training: yours to change."""
