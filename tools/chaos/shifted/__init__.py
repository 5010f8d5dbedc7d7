"""A model whose forecasts are shifted on purpose."""
