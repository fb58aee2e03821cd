#!/bin/bash
# Learning on 4 machines of a cluster with Slurm: sbatch examples/slurm.sh
# The model, the data and the state lie on a file system that all machines see.
#SBATCH --job-name=moeclip
#SBATCH --nodes=4
#SBATCH --ntasks-per-node=2
#SBATCH --cpus-per-task=16
#SBATCH --time=12:00:00
#SBATCH --signal=TERM@120
# The last line has Slurm ask the ranks to stop two minutes before the time is over: they write a checkpoint. Submitted again, the
# same command goes on from it, also with another number of tasks.
set -euo pipefail

export OMP_WAIT_POLICY=passive
# One rank for each socket; each computes with the processors that Slurm gives it.
srun --mpi=pmix --cpus-per-task="$SLURM_CPUS_PER_TASK" \
  moeclip learn --model "$HOME/models/ViT-B-16.pt" --state "$SCRATCH/state.safetensors" --batch 64 \
  "$SCRATCH/data/aircraft" "$SCRATCH/data/caltech101" "$SCRATCH/data/cifar100"

# Where srun was built without PMIx, Open MPI's own mpirun reads the allocation from Slurm:
#   mpirun --map-by socket:PE=16 moeclip learn ...
