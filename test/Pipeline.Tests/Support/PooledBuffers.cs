using System.Collections.Concurrent;
using System.Diagnostics.Tracing;

namespace Pipeline.Tests.Support;

/// <summary>Counts the buffers of 2 KiB and more, as frames need, that were rented from the shared pool since it was made, and not returned.</summary>
internal sealed class PooledBuffers : EventListener
{
    private const int MinSize = 2 * 1024;
    private const int Rented = 1;
    private const int Returned = 3;

    private readonly ConcurrentDictionary<int, bool> _outstanding = [];

    public int Outstanding => _outstanding.Count;

    /// <summary>How many were rented, returned or not.</summary>
    public int Rents { get; private set; }

    protected override void OnEventSourceCreated(EventSource eventSource)
    {
        if (eventSource.Name == "System.Buffers.ArrayPoolEventSource")
        {
            EnableEvents(eventSource, EventLevel.Verbose);
        }
    }

    // Both events begin with the buffer's identity and its size. The base class may call this before the fields are there.
    protected override void OnEventWritten(EventWrittenEventArgs eventData)
    {
        if (_outstanding is null || eventData.Payload is not [int buffer, int size, ..] || size < MinSize)
        {
            return;
        }

        if (eventData.EventId == Rented)
        {
            _outstanding[buffer] = true;
            Rents++;
        }
        else if (eventData.EventId == Returned)
        {
            _outstanding.TryRemove(buffer, out _);
        }
    }
}
