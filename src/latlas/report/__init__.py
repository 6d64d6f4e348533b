"""Pages that show tables, models, predictors and studies."""
