"""Those who bring the secrets, each as it writes them: what the service finds is the same."""
