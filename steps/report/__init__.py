"""What each stage tells the page, the model card and MLflow."""
