"""Portrait, sound and style to video, in memory that does not grow with the sound."""
