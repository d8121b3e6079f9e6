using System.Globalization;
using System.IO.Compression;
using Pipeline.Dataflow;
using Pipeline.Wire;

namespace Pipeline.Cli.Traces;

/// <summary>
/// Writes a trace that <see cref="TraceReader"/> reads, and ends it at the reader's limits. What it has handed to the file is whole
/// records, so that a recording that is killed lacks its last moments and nothing else.
/// </summary>
/// <remarks>May be called from any thread; the order of the records is that of the calls.</remarks>
internal sealed class TraceWriter : IDisposable
{
    // One write to the file: large enough that writes do not matter, and little to lose.
    private const int FlushAt = 64 * 1024;

    // Guarded by _gate. Invariant: what is in _pending is whole records; when _end is not null, nothing is added any more.
    private readonly Lock _gate = new();
    private readonly FileStream _file;
    private readonly Stream _packed;
    private readonly bool _isOurs;
    private readonly TimeProvider _time;
    private readonly MemoryStream _pending = new();
    private bool _isBegun;
    private bool _isClosed;
    private long _start;
    private long _previous;

    // What is whole in the file: up to where, and how much that is.
    private (long Length, int Messages, long Bytes) _intact;
    private string? _end;

    /// <param name="path">What errors call the file, and what says whether it is gzipped.</param>
    /// <param name="file">The file; the writer's from now on.</param>
    /// <param name="isOurs">Whether the file was made for the recording.</param>
    /// <param name="time">Says when messages come.</param>
    internal TraceWriter(string path, FileStream file, bool isOurs, TimeProvider time)
    {
        Path = path;
        _file = file;
        _packed = path.EndsWith(".gz", StringComparison.OrdinalIgnoreCase) ? new GZipStream(file, CompressionLevel.Optimal, leaveOpen: true) : file;
        _isOurs = isOurs;
        _time = time;
    }

    /// <summary>The most messages that are recorded; default and limit: what a reader takes.</summary>
    public int MaxMessages { get; init; } = TraceReader.MaxMessages;

    /// <summary>The most bytes of messages that are recorded; default and limit: what a reader takes.</summary>
    public long MaxBytes { get; init; } = TraceReader.MaxBytes;

    /// <summary>The file.</summary>
    public string Path { get; }

    /// <summary>Messages recorded; after a failure those that are in the file.</summary>
    public int Messages { get; private set; }

    /// <summary>Bytes of those messages.</summary>
    public long Bytes { get; private set; }

    /// <summary>Why the file could not be written, in a sentence; null as long as it can.</summary>
    public string? Failure { get; private set; }

    /// <summary>Opens the file of a recording; nothing is changed in one that is there before <see cref="Begin"/>.</summary>
    /// <param name="path">The file; gzipped when it ends with <c>.gz</c>.</param>
    /// <param name="existing">What becomes of a file that is there.</param>
    /// <param name="time">Says when messages come.</param>
    /// <exception cref="TraceException">The file cannot be written; the message says why.</exception>
    public static TraceWriter Open(string path, WhenFileExists existing, TimeProvider time)
    {
        if (path.Length == 0 || path.Contains('\0', StringComparison.Ordinal))
        {
            throw new TraceException("--record is not the path of a file.");
        }

        if (Directory.Exists(path))
        {
            throw new TraceException($"'{path}' is a folder; --record takes a file.");
        }

        bool isThere = File.Exists(path);
        if (isThere && existing == WhenFileExists.Refuse)
        {
            throw new TraceException($"There is a file '{path}' already; --force replaces it.");
        }

        try
        {
            // Others may read what there is of it at any time.
            FileStream file = new(path, isThere ? FileMode.Open : FileMode.CreateNew, FileAccess.Write, FileShare.Read, bufferSize: 0);
            return new TraceWriter(path, file, isOurs: !isThere, time);
        }
        catch (DirectoryNotFoundException e)
        {
            throw new TraceException($"There is no folder '{System.IO.Path.GetDirectoryName(System.IO.Path.GetFullPath(path))}' to record into.", e);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new TraceException($"'{path}' cannot be written: {e.Message.TrimEnd('.')}.", e);
        }
    }

    /// <summary>Empties the file; times count from here. Only the first call does anything.</summary>
    public void Begin()
    {
        lock (_gate)
        {
            if (_isBegun)
            {
                return;
            }

            _isBegun = true;
            _start = _time.GetTimestamp();
            if (_file.CanSeek && _file.Length > 0)
            {
                TryWrite(() => _file.SetLength(0));
            }
        }
    }

    /// <summary>Adds a message that comes at this moment.</summary>
    /// <param name="peer">The sender, 0 to <see cref="Trace.MaxPeers"/> - 1.</param>
    /// <param name="channel">The channel.</param>
    /// <param name="message">The bytes that came.</param>
    /// <returns>Why the recording has just ended with all before this message, in a sentence; null otherwise.</returns>
    public string? Add(int peer, ChannelDescriptor channel, ReadOnlySpan<byte> message)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual((uint)peer, (uint)Trace.MaxPeers, nameof(peer));
        lock (_gate)
        {
            Begin();
            if (_end is not null || _isClosed)
            {
                return null;
            }

            long microseconds = (long)_time.GetElapsedTime(_start).TotalMicroseconds;
            if (FindLimit(microseconds, message.Length) is { } limit)
            {
                return _end = $"The recording has ended: {limit}, which is the most that a trace may have.";
            }

            Append(microseconds - _previous, peer, channel, message);
            _previous = microseconds;
            Messages++;
            Bytes += message.Length;
            if (_pending.Length >= FlushAt)
            {
                WritePending();
            }

            return Failure;
        }
    }

    /// <summary>Hands what was added to the file. Does nothing when that has failed.</summary>
    /// <returns>Why it cannot be written, in a sentence; null when it can.</returns>
    public string? Flush()
    {
        lock (_gate)
        {
            if (!_isClosed)
            {
                WritePending();
            }

            return Failure;
        }
    }

    /// <summary>Completes the file, also on the disk; one that was made for nothing is removed.</summary>
    /// <returns>Why it cannot be written, in a sentence; null when it can.</returns>
    public string? Close()
    {
        lock (_gate)
        {
            if (_isClosed)
            {
                return Failure;
            }

            WritePending();
            _isClosed = true;
            if (_packed != _file)
            {
                TryWrite(_packed.Dispose);
            }

            TryWrite(() => _file.Flush(flushToDisk: true));
            _file.Dispose();
            _pending.Dispose();
            if (!_isBegun && _isOurs)
            {
                File.Delete(Path);
            }

            return Failure;
        }
    }

    public void Dispose() => Close();

    private string? FindLimit(long microseconds, int length) => this switch
    {
        _ when Messages == MaxMessages => string.Create(CultureInfo.InvariantCulture, $"it has {MaxMessages:N0} messages"),
        _ when Bytes + length > MaxBytes => string.Create(CultureInfo.InvariantCulture, $"with the next message it would have more than {MaxBytes:N0} bytes"),
        _ when microseconds > TraceReader.MaxTime.TotalMicroseconds => $"it has gone on for {TraceReader.MaxTime.TotalHours} hours",
        _ => null,
    };

    private void Append(long microseconds, int peer, ChannelDescriptor channel, ReadOnlySpan<byte> message)
    {
        Span<byte> varint = stackalloc byte[Varint.MaxLength];
        _pending.Write(varint[..Varint.Write(varint, (ulong)microseconds)]);
        _pending.WriteByte((byte)peer);
        _pending.WriteByte(channel.Id);
        _pending.Write(varint[..Varint.Write(varint, (ulong)message.Length)]);
        _pending.Write(message);
    }

    private void WritePending()
    {
        if (_pending.Length == 0 || Failure is not null)
        {
            return;
        }

        TryWrite(() =>
        {
            _packed.Write(_pending.GetBuffer().AsSpan(0, (int)_pending.Length));

            // Of gzip data, what is unpacked to this point can be unpacked from the file.
            _packed.Flush();
            _intact = (_file.CanSeek ? _file.Position : 0, Messages, Bytes);
        });
        _pending.SetLength(0);
        if (_pending.Capacity > 4 * FlushAt)
        {
            _pending.Capacity = FlushAt;
        }
    }

    private void TryWrite(Action write)
    {
        if (Failure is not null)
        {
            return;
        }

        try
        {
            write();
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or NotSupportedException)
        {
            Failure = $"'{Path}' cannot be written: {e.Message.TrimEnd('.')}.";
            _end = Failure;
            (_, Messages, Bytes) = _intact;
            CutBack();
        }
    }

    // A disk that is full has taken a part of a record. Giving that back needs no room.
    private void CutBack()
    {
        try
        {
            _file.SetLength(_intact.Length);
        }
        catch (Exception e) when (e is IOException or NotSupportedException)
        {
            // Readers find the place all the same.
        }
    }
}

/// <summary>What becomes of a file that is there already.</summary>
internal enum WhenFileExists
{
    /// <summary>It stays, and is an error.</summary>
    Refuse,

    /// <summary>It is replaced.</summary>
    Replace,
}
