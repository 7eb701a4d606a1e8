"""Face boxes, landmarks, pose and region masks, behind one provider protocol."""
