"""What a trained network is: file and card, predictions, committees, its domain. See docs/model.md."""
