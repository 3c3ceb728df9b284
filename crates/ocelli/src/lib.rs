//! Reinforcement learning for models that see: the program and the facade.
