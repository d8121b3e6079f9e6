using System.Collections.Concurrent;
using System.Security.Cryptography;
using Google.Protobuf;
using Pipeline.Cryptography;
using Pipeline.Protocols.StateSync;
using Pipeline.Reactors;

namespace Pipeline.Samples.FileCopy;

/// <summary>
/// Shares files with the library's state sync, which brings a snapshot in chunks from all peers that have it: here a snapshot is a file. Who wants one knows its
/// hash, which is over the hashes of the chunks, so each chunk is checked when it comes and a wrong one is fetched from somebody else.
/// </summary>
public sealed class SharedFiles : ISnapshotSource
{
    private const int ChunkSize = 1 << 20;
    private const int HashSize = SHA256.HashSizeInBytes;

    // A library offers ten snapshots to a peer.
    private const int MostFiles = StateSyncReactor.SnapshotsPerPeer;

    private readonly ConcurrentDictionary<(ulong Height, uint Format), (Snapshot Snapshot, string Path)> _files = new();
    private readonly StateSyncReactor _reactor;

    /// <summary>Makes it without files.</summary>
    public SharedFiles() => _reactor = new StateSyncReactor(new StateSyncOptions { Source = this, AnswerPeriod = TimeSpan.FromSeconds(1) });

    /// <summary>What to add to a switch.</summary>
    public Reactor Reactor => _reactor;

    /// <summary>Shares a file, and returns the hash that others get it by.</summary>
    /// <exception cref="IOException">It cannot be read, is empty or too large, or there are ten already.</exception>
    public async Task<string> ShareAsync(string path)
    {
        await using FileStream file = File.OpenRead(path);
        using MemoryStream hashes = new();
        byte[] chunk = new byte[ChunkSize];
        while (await file.ReadAtLeastAsync(chunk, ChunkSize, throwOnEndOfStream: false) is int length and > 0)
        {
            hashes.Write(SHA256.HashData(chunk.AsSpan(0, length)));
        }

        if (hashes.Length is 0 or > 2048 * HashSize || _files.Count >= MostFiles)
        {
            throw new IOException($"{path} cannot be shared: a file has 1 byte to 2 GiB, and at most {MostFiles} are shared.");
        }

        // All that is in a snapshot follows from the file, so all who share it offer the same.
        byte[] hash = SHA256.HashData(hashes.ToArray());
        Snapshot snapshot = new((ulong)file.Length, BitConverter.ToUInt32(hash), (uint)(hashes.Length / HashSize), ByteString.CopyFrom(hash), ByteString.CopyFrom(hashes.ToArray()));
        _files[(snapshot.Height, snapshot.Format)] = (snapshot, Path.GetFullPath(path));
        return Convert.ToHexStringLower(hash);
    }

    /// <summary>Gets a file from all peers that share it, as fast as they send.</summary>
    /// <param name="hash">What <see cref="ShareAsync"/> returned there.</param>
    /// <param name="path">Where to put it; what is there is replaced once all has come.</param>
    /// <param name="cancellationToken">Ends it.</param>
    /// <returns>How many bytes there are, and how many peers sent some.</returns>
    /// <exception cref="StateSyncException">Those who share it cannot deliver all of it.</exception>
    public async Task<(long Bytes, int Peers)> GetAsync(string hash, string path, CancellationToken cancellationToken = default)
    {
        Snapshot snapshot = await FindAsync(hash, cancellationToken);
        string part = path + ".part";
        HashSet<NodeId> peers = [];
        await using (FileStream file = File.Create(part))
        {
            await foreach (SnapshotChunk chunk in _reactor.DownloadAsync(snapshot, Check, cancellationToken: cancellationToken))
            {
                await file.WriteAsync(chunk.Data, cancellationToken);
                peers.Add(chunk.From);
            }
        }

        File.Move(part, path, overwrite: true);
        return (new FileInfo(path).Length, peers.Count);

        ChunkVerdict Check(SnapshotChunk chunk) =>
            SHA256.HashData(chunk.Data.Span).AsSpan().SequenceEqual(snapshot.Metadata.Span.Slice((int)chunk.Index * HashSize, HashSize))
                ? ChunkVerdict.Accept
                : ChunkVerdict.RejectSender;
    }

    /// <inheritdoc />
    public ValueTask<IReadOnlyList<Snapshot>> ListAsync(CancellationToken cancellationToken) => ValueTask.FromResult<IReadOnlyList<Snapshot>>([.. _files.Values.Select(file => file.Snapshot)]);

    /// <inheritdoc />
    public async ValueTask<ReadOnlyMemory<byte>?> ReadChunkAsync(ulong height, uint format, uint index, CancellationToken cancellationToken)
    {
        if (!_files.TryGetValue((height, format), out (Snapshot Snapshot, string Path) file) || index >= file.Snapshot.Chunks)
        {
            return null;
        }

        await using FileStream stream = File.OpenRead(file.Path);
        stream.Position = (long)index * ChunkSize;
        byte[] chunk = new byte[ChunkSize];
        return chunk.AsMemory(0, await stream.ReadAtLeastAsync(chunk, ChunkSize, throwOnEndOfStream: false, cancellationToken));
    }

    // Metadata that does not have the hash is of somebody who lies, or of another program.
    private async Task<Snapshot> FindAsync(string hash, CancellationToken cancellationToken)
    {
        _reactor.Discover();
        await foreach (IReadOnlyList<OfferedSnapshot> offers in _reactor.WatchAsync(cancellationToken))
        {
            Snapshot? snapshot = offers.Select(offer => offer.Snapshot).FirstOrDefault(snapshot =>
                Convert.ToHexString(snapshot.Hash.Span).Equals(hash, StringComparison.OrdinalIgnoreCase)
                && snapshot.Metadata.Length == snapshot.Chunks * HashSize
                && SHA256.HashData(snapshot.Metadata.Span).AsSpan().SequenceEqual(snapshot.Hash.Span));
            if (snapshot is not null)
            {
                return snapshot;
            }
        }

        throw new StateSyncException("The node has stopped.");
    }
}
