"""Real job pods on a real kubelet, with the operator's two processes as the manifests start them."""
