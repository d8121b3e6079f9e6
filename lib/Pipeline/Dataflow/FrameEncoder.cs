using System.IO.Pipelines;
using Pipeline.Transport;

namespace Pipeline.Dataflow;

/// <summary>
/// The sending loop of a connection: takes packets from the send block, as many as are sealed and written at once, and flushes them.
/// </summary>
internal sealed class FrameEncoder(PrioritySendBlock source, PipeWriter output)
{
    // As much as goes to the socket in one write. More would only delay what is more urgent than the packets in it.
    private const int BatchSize = FrameWriter.DataPerBlock;

    private long _bytesSent;

    public long BytesSent => Volatile.Read(ref _bytesSent);

    /// <summary>Ends when the block has no more packets; throws when the connection breaks or <paramref name="cancellationToken"/> is cancelled.</summary>
    public async Task RunAsync(CancellationToken cancellationToken)
    {
        try
        {
            while (await source.WaitToTakeAsync().ConfigureAwait(false))
            {
                int count = source.Take(output.GetSpan(BatchSize)[..BatchSize]);
                output.Advance(count);
                await output.FlushAsync(cancellationToken).ConfigureAwait(false);
                Volatile.Write(ref _bytesSent, _bytesSent + count);
            }
        }
        finally
        {
            source.Close();
        }
    }
}
