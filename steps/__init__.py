"""What pipelines are made of: plain typed functions, each with a thin ZenML step around it."""
