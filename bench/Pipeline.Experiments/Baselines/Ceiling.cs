using System.Diagnostics;
using Pipeline.Experiments.Draining;
using Pipeline.Experiments.Measuring;

namespace Pipeline.Experiments.Baselines;

/// <summary>
/// What a cipher and the sockets allow: one thread seals blocks and writes them, another reads and opens them, and there are no messages.
/// It carries the bytes of the load, whatever the size of its messages and however many senders there are.
/// </summary>
internal abstract class Ceiling : Contender
{
    protected const int BlockSize = 64 << 10;

    // What is counted as sent and as come, where there are no messages: a full frame of a secret connection.
    private const int CountedSize = 1024;

    public sealed override async Task<Drained> CarryAsync(RunContext context, Load load)
    {
        await using Loopback ends = await ConnectAsync(context.CancellationToken);
        using Blocks blocks = CreateBlocks(context);
        long count = (load.Share * load.Senders * load.Size + blocks.DataSize - 1) / blocks.DataSize;

        // Calls that block know no cancellation but the end of what they wait for.
        using CancellationTokenRegistration interrupted = context.CancellationToken.Register(Close);
        GC.Collect();
        long start = Stopwatch.GetTimestamp();
        Task writing = OnThread(() =>
        {
            for (long block = 0; block < count; block++)
            {
                ends.Near.Write(blocks.Seal());
            }
        });
        long opened = 0;
        long end = start;
        Task reading = OnThread(() =>
        {
            byte[] buffer = new byte[BlockSize];
            int filled = 0;
            while (opened < count * blocks.DataSize)
            {
                int read = ends.Far.Read(buffer, filled, buffer.Length - filled);
                if (read == 0)
                {
                    break;
                }

                filled += read;
                int consumed = blocks.Open(buffer.AsSpan(0, filled), out int data);
                opened += data;
                buffer.AsSpan(consumed, filled - consumed).CopyTo(buffer);
                filled -= consumed;
            }

            end = Stopwatch.GetTimestamp();
        });
        try
        {
            await await Task.WhenAny(writing, reading);
        }
        catch
        {
            Close();
        }

        try
        {
            await Task.WhenAll(writing, reading);
        }
        catch (Exception e) when (e is IOException or ObjectDisposedException && context.CancellationToken.IsCancellationRequested)
        {
            throw new OperationCanceledException(context.CancellationToken);
        }

        return new Drained(count * blocks.DataSize / CountedSize, opened / CountedSize, 0, opened, Stopwatch.GetElapsedTime(start, end).TotalSeconds);

        void Close()
        {
            ends.Near.Dispose();
            ends.Far.Dispose();
        }
    }

    protected abstract Task<Loopback> ConnectAsync(CancellationToken cancellationToken);

    protected abstract Blocks CreateBlocks(RunContext context);

    private static Task OnThread(Action action) =>
        Task.Factory.StartNew(action, CancellationToken.None, TaskCreationOptions.LongRunning, TaskScheduler.Default);

    /// <summary>What is written, block by block. One thread seals while another opens.</summary>
    protected abstract class Blocks : IDisposable
    {
        /// <summary>Bytes of data in a block.</summary>
        public abstract int DataSize { get; }

        /// <summary>The next block, to be written before the next is asked for.</summary>
        public abstract ReadOnlySpan<byte> Seal();

        /// <summary>Opens what is whole.</summary>
        /// <param name="received">What came and has not been consumed.</param>
        /// <param name="data">How many bytes of data that were.</param>
        /// <returns>How many bytes are consumed.</returns>
        public abstract int Open(ReadOnlySpan<byte> received, out int data);

        public abstract void Dispose();
    }
}
