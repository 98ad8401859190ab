"""What a protocol is compared with: learning without a network, one a file."""
