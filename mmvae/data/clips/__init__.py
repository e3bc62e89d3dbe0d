"""Features of audio-visual clips."""
