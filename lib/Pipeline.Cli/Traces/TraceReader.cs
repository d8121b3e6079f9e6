using System.Buffers;
using System.Globalization;
using System.IO.Compression;
using Pipeline.Dataflow;
using Pipeline.Wire;

namespace Pipeline.Cli.Traces;

/// <summary>Says what is wrong with a message, as in "a message that …"; null when nothing is.</summary>
internal delegate string? FindFault(ChannelDescriptor channel, ReadOnlySpan<byte> message);

/// <summary>
/// Reads the records of a trace: microseconds since the record before (a varint), one byte peer, one byte channel, the length (a
/// varint) and the message. It trusts nothing that it reads, and never takes more memory than it has read bytes.
/// </summary>
internal sealed class TraceReader : IDisposable
{
    /// <summary>The most messages a trace may have.</summary>
    public const int MaxMessages = 1_000_000;

    /// <summary>The most bytes all messages of a trace may have together.</summary>
    public const long MaxBytes = 256 << 20;

    /// <summary>The longest that a recording may be.</summary>
    public static readonly TimeSpan MaxTime = TimeSpan.FromHours(24);

    // What a claimed length gets before its bytes are there.
    private const int FirstAllocation = 64 * 1024;

    private static ReadOnlySpan<byte> GzipMagic => [0x1f, 0x8b];

    private readonly IReadOnlyDictionary<byte, ChannelDescriptor> _channels;
    private readonly FindFault? _findFault;
    private readonly Stream _unpacked;
    private readonly GZipStream? _gzip;
    private readonly GzipTrailer? _trailer;
    private readonly byte[] _buffer = new byte[64 * 1024];
    private int _position;
    private int _end;

    // Of the unpacked bytes, where the next one and the current record begin.
    private long _offset;
    private long _recordOffset;
    private int _record;

    public TraceReader(Stream stream, IReadOnlyDictionary<byte, ChannelDescriptor> channels, FindFault? findFault = null)
    {
        _channels = channels;
        _findFault = findFault;
        byte[] start = new byte[GzipMagic.Length];
        int length = stream.ReadAtLeast(start, start.Length, throwOnEndOfStream: false);
        if (length == 0)
        {
            throw new TraceException("it is empty");
        }

        if (start.AsSpan(0, length).SequenceEqual(GzipMagic))
        {
            _trailer = new GzipTrailer(stream, start);
            _unpacked = _gzip = new GZipStream(_trailer, CompressionMode.Decompress);
        }
        else
        {
            start.CopyTo(_buffer, 0);
            _end = length;
            _unpacked = stream;
        }
    }

    /// <summary>Reads to the end of the stream.</summary>
    /// <exception cref="TraceException">A record is damaged; the message names it, but not the trace.</exception>
    public IEnumerable<TraceMessage> ReadAll()
    {
        TimeSpan at = TimeSpan.Zero;
        long bytes = 0;
        while (Fill())
        {
            _record++;
            _recordOffset = _offset;
            if (_record > MaxMessages)
            {
                throw new TraceException(Invariant($"it has more than {MaxMessages:N0} records"));
            }

            TraceMessage message = ReadMessage(at);
            at = message.At;
            bytes += message.Data.Length;
            if (bytes > MaxBytes)
            {
                throw Damaged(Invariant($"brings its messages to more than {MaxBytes:N0} bytes"));
            }

            yield return message;
        }
    }

    public void Dispose() => _gzip?.Dispose();

    private TraceMessage ReadMessage(TimeSpan previous)
    {
        ulong microseconds = ReadVarint("time");
        if (microseconds > MaxTime.TotalMicroseconds || previous + TimeSpan.FromMicroseconds((long)microseconds) is var at && at > MaxTime)
        {
            throw Damaged(Invariant($"comes more than {MaxTime.TotalHours} hours after the start, which is the longest that a trace may be"));
        }

        byte peer = ReadByte("peer");
        if (peer >= Trace.MaxPeers)
        {
            throw Damaged($"is of peer {peer}; peers are 0 to {Trace.MaxPeers - 1}");
        }

        byte id = ReadByte("channel");
        if (!_channels.TryGetValue(id, out ChannelDescriptor? channel))
        {
            throw Damaged($"is of channel 0x{id:x2}; channels are {string.Join(", ", _channels.Keys.Order().Select(known => $"0x{known:x2}"))}");
        }

        ulong length = ReadVarint("length");
        if (length > (ulong)channel.MaxMessageSize)
        {
            throw Damaged(Invariant($"has a message of {length:N0} bytes; channel {channel} takes at most {channel.MaxMessageSize:N0}"));
        }

        byte[] data = ReadBytes((int)length);
        return _findFault?.Invoke(channel, data) is { } fault
            ? throw Damaged($"has a message {fault}")
            : new TraceMessage(at, peer, channel, data);
    }

    private ulong ReadVarint(string what)
    {
        Span<byte> bytes = stackalloc byte[Varint.MaxLength];
        for (int length = 1; length <= bytes.Length; length++)
        {
            bytes[length - 1] = ReadByte(what);
            switch (Varint.TryRead(bytes[..length], out ulong value, out _))
            {
                case OperationStatus.Done:
                    return value;
                case OperationStatus.InvalidData:
                    length = bytes.Length;
                    break;
            }
        }

        throw Damaged($"has a {what} that is not a varint of at most 64 bits");
    }

    private byte ReadByte(string what)
    {
        if (!Fill())
        {
            throw CutShort($"the trace ends before its {what}");
        }

        _offset++;
        return _buffer[_position++];
    }

    private byte[] ReadBytes(int length)
    {
        byte[] data = new byte[Math.Min(length, FirstAllocation)];
        int read = 0;
        while (read < length)
        {
            if (!Fill())
            {
                throw CutShort(Invariant($"the trace ends after {read:N0} of the {length:N0} bytes of its message"));
            }

            if (read == data.Length)
            {
                Array.Resize(ref data, (int)Math.Min(length, 2L * data.Length));
            }

            int count = Math.Min(_end - _position, data.Length - read);
            _buffer.AsSpan(_position, count).CopyTo(data.AsSpan(read));
            _position += count;
            _offset += count;
            read += count;
        }

        return data;
    }

    /// <summary>Sees to it that there is a byte to read; false at the end.</summary>
    private bool Fill()
    {
        if (_position < _end)
        {
            return true;
        }

        try
        {
            _position = 0;
            _end = _unpacked.Read(_buffer);
        }
        catch (InvalidDataException e)
        {
            throw new TraceException(Invariant($"its gzip data is damaged after {_offset:N0} unpacked bytes, in or after record {_record:N0}"), e);
        }

        return _end > 0 || (_trailer is not null && !_trailer.Confirms(_offset)
            ? throw new TraceException(Invariant($"its gzip data is cut short after {_offset:N0} unpacked bytes, in or after record {_record:N0}"))
            {
                IsCutShort = true,
            }
            : false);
    }

    private TraceException CutShort(string how) => new(Damaged($"is cut short: {how}").Message) { IsCutShort = true };

    private TraceException Damaged(string how) => new(Invariant($"record {_record:N0}, at byte {_recordOffset:N0} of the unpacked data, ") + how);

    private static string Invariant(FormattableString text) => text.ToString(CultureInfo.InvariantCulture);
}
