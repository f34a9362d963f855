"""What happens when cameras stall, links break, machines stop and strangers knock: promises, each with its figures."""
