namespace Pipeline.Dataflow;

/// <summary>What one queue of a <see cref="PrioritySendBlock"/> has done so far, and what waits in it and for it.</summary>
internal readonly record struct SendQueueStatus(
    int Messages,
    long Bytes,
    long MessagesSent,
    long BytesSent,
    int Waiting,
    long Waits,
    TimeSpan WaitTime);
