"""What is learned: classes of clips, transcripts, or the clips themselves."""
