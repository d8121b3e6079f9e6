namespace Pipeline.Benchmarks.Parts;

/// <summary>How many messages of a size a benchmark of one part handles: in a batch as many as a connection would at once.</summary>
internal static class Sizes
{
    /// <summary>The messages of one invocation, in as many batches as that takes.</summary>
    public const int Messages = 1024;

    private const int BatchBytes = 64 * 1024;

    /// <summary>The messages of one batch: a divisor of <see cref="Messages"/> for sizes that are powers of two.</summary>
    public static int BatchOf(int size) => Math.Clamp(BatchBytes / size, 1, Messages);

    public static byte[] CreateMessage(int size)
    {
        byte[] message = new byte[size];
        new Random(1).NextBytes(message);
        return message;
    }
}
