"""Policies that come with the package: NAME.safetensors, the weights and what they were trained for, and NAME.md, the model card.

Written by `gnnrl export RUN --weights gnnrl/pretrained/NAME.safetensors` and read by `PPO_GNN.pretrained(NAME)`; see CONTRIBUTING.md.
"""
