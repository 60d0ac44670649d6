"""What our own methods put into a model, and what methods of peft need beside it."""
