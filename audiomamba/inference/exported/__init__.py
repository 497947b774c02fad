"""What stands in an exported model's folder, besides its weights."""
