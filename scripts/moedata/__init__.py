"""Helpers of scripts/pretrain_data.py and scripts/demo_data.py."""
