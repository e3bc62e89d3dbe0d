"""The birds of CUB-200-2011 and their captions."""
