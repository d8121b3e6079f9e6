using Pipeline.Cli.Traces;

namespace Pipeline.Cli.Demo;

/// <summary>Sends a message of a lane.</summary>
/// <returns>Null when it was taken; otherwise a sentence that says why not.</returns>
internal delegate Task<string?> SendMessage(ReplayLane lane, ReadOnlyMemory<byte> data, CancellationToken cancellationToken);

/// <summary>
/// Plays the lanes of a trace, each in order and at its pace, side by side: as in a real node, a full channel does not hold up the
/// others.
/// </summary>
internal sealed class Replay(IReadOnlyList<ReplayLane> lanes, ReplayPace pace, TimeProvider time)
{
    // Timers take no longer waits than some weeks.
    private static readonly TimeSpan LongestWait = TimeSpan.FromHours(1);

    /// <summary>Sends everything that is due in time; returns why it stopped before, or null.</summary>
    /// <exception cref="OperationCanceledException"><paramref name="cancellationToken"/> was cancelled.</exception>
    public async Task<string?> RunAsync(SendMessage send, CancellationToken cancellationToken)
    {
        using CancellationTokenSource stop = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        long start = time.GetTimestamp();
        string? refusal = null;
        await Task.WhenAll(lanes.Select(lane => Task.Run(() => PlayAsync(lane), cancellationToken)));
        return refusal;

        async Task PlayAsync(ReplayLane lane)
        {
            try
            {
                foreach (TraceMessage message in lane.Messages)
                {
                    if (!await WaitUntilDueAsync(pace.DueAt(message.At)))
                    {
                        return;
                    }

                    if (await send(lane, lane.SendNext(), stop.Token) is { } why)
                    {
                        Interlocked.CompareExchange(ref refusal, why, null);
                        await stop.CancelAsync();
                        return;
                    }
                }
            }
            catch (OperationCanceledException) when (refusal is not null)
            {
                // Another lane was refused, so this one need not go on.
            }
        }

        // False when it is too late to send.
        async Task<bool> WaitUntilDueAsync(TimeSpan due)
        {
            if (pace.IsOver(due))
            {
                return false;
            }

            TimeSpan elapsed;
            while ((elapsed = time.GetElapsedTime(start)) < due)
            {
                await Task.Delay(TimeSpan.FromTicks(Math.Min((due - elapsed).Ticks, LongestWait.Ticks)), time, stop.Token);
            }

            stop.Token.ThrowIfCancellationRequested();
            return !pace.IsOver(elapsed);
        }
    }
}
