//! Files that PyTorch wrote are read bit for bit; hostile programs are refused.

mod hostile;
mod program;
mod real;
