/* Stands between a program and MPI and counts the bytes of the send buffers it hands over. */

#include <mpi.h>

#if MPI_VERSION >= 4
#define LARGE(definition) definition
#else
#define LARGE(definition) /* no large counts in this MPI */
#endif

static long long sent, elsewhere;

long long sent_bytes(void) { return sent; }
long long other_calls(void) { return elsewhere; } /* calls that carry data and are not counted below */

static long long bytes(MPI_Count count, MPI_Datatype type)
{
    MPI_Count size;
    PMPI_Type_size_x(type, &size);
    return (long long)count * (long long)size;
}

#define ALLGATHERV(NAME, COUNT, SHIFT)                                                                              \
    int MPI_##NAME(const void *send, COUNT count, MPI_Datatype type, void *receive, const COUNT counts[],           \
                   const SHIFT shifts[], MPI_Datatype to, MPI_Comm comm)                                            \
    {                                                                                                               \
        sent += bytes(count, type);                                                                                 \
        return PMPI_##NAME(send, count, type, receive, counts, shifts, to, comm);                                   \
    }
ALLGATHERV(Allgatherv, int, int)
LARGE(ALLGATHERV(Allgatherv_c, MPI_Count, MPI_Aint))

#define GATHERV(NAME, COUNT, SHIFT)                                                                                 \
    int MPI_##NAME(const void *send, COUNT count, MPI_Datatype type, void *receive, const COUNT counts[],           \
                   const SHIFT shifts[], MPI_Datatype to, int root, MPI_Comm comm)                                  \
    {                                                                                                               \
        sent += bytes(count, type);                                                                                 \
        return PMPI_##NAME(send, count, type, receive, counts, shifts, to, root, comm);                             \
    }
GATHERV(Gatherv, int, int)
LARGE(GATHERV(Gatherv_c, MPI_Count, MPI_Aint))

#define ALLTOALLW(NAME, COUNT, SHIFT)                                                                               \
    int MPI_##NAME(const void *send, const COUNT counts[], const SHIFT shifts[], const MPI_Datatype types[],        \
                   void *receive, const COUNT to_counts[], const SHIFT to_shifts[], const MPI_Datatype to_types[],  \
                   MPI_Comm comm)                                                                                   \
    {                                                                                                               \
        int size;                                                                                                   \
        PMPI_Comm_size(comm, &size);                                                                                \
        for (int r = 0; r < size; r++)                                                                              \
            sent += bytes(counts[r], types[r]);                                                                     \
        return PMPI_##NAME(send, counts, shifts, types, receive, to_counts, to_shifts, to_types, comm);             \
    }
ALLTOALLW(Alltoallw, int, int)
LARGE(ALLTOALLW(Alltoallw_c, MPI_Count, MPI_Aint))

#define BCAST(NAME, COUNT)                                                                                          \
    int MPI_##NAME(void *buffer, COUNT count, MPI_Datatype type, int root, MPI_Comm comm)                           \
    {                                                                                                               \
        int rank;                                                                                                   \
        PMPI_Comm_rank(comm, &rank);                                                                                \
        sent += rank == root ? bytes(count, type) : 0;                                                              \
        return PMPI_##NAME(buffer, count, type, root, comm);                                                        \
    }
BCAST(Bcast, int)
LARGE(BCAST(Bcast_c, MPI_Count))

#define GATHER(NAME, COUNT)                                                                                         \
    int MPI_##NAME(const void *send, COUNT count, MPI_Datatype type, void *receive, COUNT to_count,                 \
                   MPI_Datatype to, MPI_Comm comm)                                                                  \
    {                                                                                                               \
        elsewhere++;                                                                                                \
        return PMPI_##NAME(send, count, type, receive, to_count, to, comm);                                         \
    }
GATHER(Allgather, int)
LARGE(GATHER(Allgather_c, MPI_Count))
GATHER(Alltoall, int)
LARGE(GATHER(Alltoall_c, MPI_Count))

#define REDUCE(NAME, COUNT)                                                                                         \
    int MPI_##NAME(const void *send, void *receive, COUNT count, MPI_Datatype type, MPI_Op op, MPI_Comm comm)       \
    {                                                                                                               \
        sent += bytes(count, type);                                                                                 \
        return PMPI_##NAME(send, receive, count, type, op, comm);                                                   \
    }
REDUCE(Allreduce, int)
LARGE(REDUCE(Allreduce_c, MPI_Count))

#define SEND(NAME, COUNT)                                                                                           \
    int MPI_##NAME(const void *send, COUNT count, MPI_Datatype type, int to, int tag, MPI_Comm comm)                \
    {                                                                                                               \
        elsewhere++;                                                                                                \
        return PMPI_##NAME(send, count, type, to, tag, comm);                                                       \
    }
SEND(Send, int)
LARGE(SEND(Send_c, MPI_Count))
