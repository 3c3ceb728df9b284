//! Credit, objectives, optimizers, stages and the training loop of Ocelli.
