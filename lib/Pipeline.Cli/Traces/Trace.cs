using System.Globalization;
using System.Reflection;
using Pipeline.Dataflow;

namespace Pipeline.Cli.Traces;

/// <summary>One recorded message.</summary>
/// <param name="At">When it arrived, since the start of the recording.</param>
/// <param name="Peer">Which peer sent it, 0 to <see cref="Trace.MaxPeers"/> - 1.</param>
/// <param name="Channel">The channel it came on.</param>
/// <param name="Data">The message.</param>
internal readonly record struct TraceMessage(TimeSpan At, int Peer, ChannelDescriptor Channel, ReadOnlyMemory<byte> Data);

/// <summary>
/// A recording of what one node received from its peers. It is read whole before it is used, so that a damaged one is refused before
/// anything has begun; <see cref="TraceReader"/> holds the limits.
/// </summary>
internal sealed class Trace
{
    /// <summary>The most peers that a recording may have: as many as one address may have in its handshake at a time at a node.</summary>
    public const int MaxPeers = 16;

    private Trace(IReadOnlyList<TraceMessage> messages)
    {
        Messages = messages;
        Peers = messages.Max(message => message.Peer) + 1;
    }

    /// <summary>How many peers there are, 1 to <see cref="MaxPeers"/>: those up to the last that sent something.</summary>
    public int Peers { get; }

    /// <summary>All messages in the order they arrived.</summary>
    public IReadOnlyList<TraceMessage> Messages { get; }

    /// <summary>The recording that comes with the command: half a minute of a network of four validators.</summary>
    public static Trace ReadBundled()
    {
        using Stream stream = Assembly.GetExecutingAssembly().GetManifestResourceStream("trace.bin.gz")!;
        return Read(stream, "that comes with the command", StandardMessages.Channels, StandardMessages.FindFault);
    }

    /// <summary>Reads a recording from a file, gzipped or not.</summary>
    /// <param name="path">The file.</param>
    /// <param name="cutShort">What becomes of one that was cut short.</param>
    /// <exception cref="TraceException">The file cannot be read, or is not a recording; the message says where it goes wrong.</exception>
    public static Trace ReadFile(string path, WhenCutShort cutShort = WhenCutShort.Refuse)
    {
        if (path.Length == 0 || path.Contains('\0', StringComparison.Ordinal))
        {
            throw new TraceException("--trace is not the path of a file; leave it out to use the trace that comes with the command.");
        }

        if (Directory.Exists(path))
        {
            throw new TraceException($"'{path}' is a folder; a trace is a file.");
        }

        try
        {
            using FileStream stream = new(path, FileMode.Open, FileAccess.Read, FileShare.Read, bufferSize: 0);
            return Read(stream, $"'{path}'", StandardMessages.Channels, StandardMessages.FindFault, cutShort);
        }
        catch (Exception e) when (e is FileNotFoundException or DirectoryNotFoundException)
        {
            throw new TraceException($"There is no file '{path}'; leave --trace out to use the trace that comes with the command.", e);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new TraceException($"The trace '{path}' cannot be read: {e.Message.TrimEnd('.')}.", e);
        }
    }

    /// <summary>Reads a recording from a stream, gzipped or not.</summary>
    /// <param name="stream">The stream, of any length; it is read to its end.</param>
    /// <param name="name">What an error calls the trace.</param>
    /// <param name="channels">The channels that messages may be of.</param>
    /// <param name="findFault">Checks a message; null for no check.</param>
    /// <param name="cutShort">What becomes of one that was cut short.</param>
    /// <exception cref="TraceException">The stream is not a recording; the message says where it goes wrong.</exception>
    public static Trace Read(
        Stream stream,
        string name,
        IReadOnlyDictionary<byte, ChannelDescriptor> channels,
        FindFault? findFault = null,
        WhenCutShort cutShort = WhenCutShort.Refuse)
    {
        List<TraceMessage> messages = [];
        try
        {
            using TraceReader reader = new(stream, channels, findFault);
            messages.AddRange(reader.ReadAll());
            return messages.Count > 0 ? new Trace(messages) : throw new TraceException("it holds no messages");
        }
        catch (TraceException e) when (e.IsCutShort && cutShort == WhenCutShort.UseWhatIsWhole && messages.Count > 0)
        {
            return new Trace(messages);
        }
        catch (TraceException e) when (e.IsCutShort && messages.Count > 0)
        {
            throw new TraceException(
                string.Create(CultureInfo.InvariantCulture, $"The trace {name} cannot be used: {e.Message}. The whole records before that ({messages.Count:N0}) can be used with --salvage."),
                e);
        }
        catch (TraceException e)
        {
            throw new TraceException($"The trace {name} cannot be used: {e.Message}.", e);
        }
    }
}

/// <summary>A trace cannot be used. The message says why, in a sentence for people.</summary>
internal sealed class TraceException(string message, Exception? innerException = null) : FormatException(message, innerException)
{
    /// <summary>Whether all is well up to where the trace ends too early.</summary>
    public bool IsCutShort { get; init; }
}

/// <summary>What becomes of a trace that ends within a record.</summary>
internal enum WhenCutShort
{
    /// <summary>It is refused.</summary>
    Refuse,

    /// <summary>Its whole records are used, if there are any.</summary>
    UseWhatIsWhole,
}
