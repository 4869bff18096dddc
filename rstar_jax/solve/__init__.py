"""Questions: their searches watched, their answers with what supports them."""
