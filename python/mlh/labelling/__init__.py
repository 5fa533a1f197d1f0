"""From a configuration to a data set: plan, calculations, labels."""
