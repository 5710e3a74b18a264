"""Images against nodes: will this image reach the GPUs of that node, judged before anything is scheduled."""
