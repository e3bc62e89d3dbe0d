"""Images with texts and labels."""
