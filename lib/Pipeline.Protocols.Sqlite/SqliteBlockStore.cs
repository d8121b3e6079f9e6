using System.Globalization;
using Google.Protobuf;
using Microsoft.Data.Sqlite;
using Pipeline.Protocols.BlockSync;
using Pipeline.Protocols.Types;

namespace Pipeline.Protocols.Sqlite;

/// <summary>
/// Keeps the blocks of one chain in an SQLite file. What <see cref="AppendAsync"/> has returned from is there after a crash, also one of the machine; what it
/// has not returned from is there as a whole or not at all.
/// </summary>
/// <remarks>
/// The file has the table <c>blocks (height, hash, part_count, part_hash, block, block_commit)</c>, a row a block, which other programs may read meanwhile. One
/// process writes at a time; another that tries waits for up to 5 s. Beside the file lie its <c>-wal</c> and <c>-shm</c> while it is open.
/// </remarks>
public sealed class SqliteBlockStore : IBlockStore, IAsyncDisposable, IDisposable
{
    // "PBLK": tells this kind of file from others; the version is that of the tables.
    private const int ApplicationId = 0x50424c4b;
    private const int SchemaVersion = 1;

    // SQLite's own names of results (sqlite.org/rescode.html).
    private const int NotADatabase = 26;
    private const int Corrupt = 11;

    private const string Schema = """
        CREATE TABLE chain (chain_id TEXT NOT NULL);
        CREATE TABLE blocks (
            height INTEGER PRIMARY KEY,
            hash BLOB NOT NULL,
            part_count INTEGER NOT NULL,
            part_hash BLOB NOT NULL,
            block BLOB NOT NULL,
            block_commit BLOB NOT NULL);
        """;

    // Each connection is used by one at a time: whoever holds its semaphore, and that of ranges whoever holds _gate.
    private readonly SemaphoreSlim _writing = new(1, 1);
    private readonly SemaphoreSlim _reading = new(1, 1);
    private readonly SqliteConnection _writer;
    private readonly SqliteConnection _reader;
    private readonly Lock _gate = new();
    private readonly SqliteConnection _ranger;
    private readonly SqliteCommand _selectRange;
    private BlockRange _range;
    private bool _isClosed;

    private SqliteBlockStore(string path, string chainId, SqliteConnection writer, SqliteConnection reader, SqliteConnection ranger)
    {
        Path = path;
        ChainId = chainId;
        _writer = writer;
        _reader = reader;
        _ranger = ranger;
        _selectRange = ranger.CreateCommand();

        // Each takes one look at the tree; both in one query without more would go through all of it.
        _selectRange.CommandText = "SELECT ifnull((SELECT min(height) FROM blocks), 0), ifnull((SELECT max(height) FROM blocks), 0)";
        _range = ReadRange();
    }

    /// <summary>The file.</summary>
    public string Path { get; }

    /// <summary>The network whose blocks these are.</summary>
    public string ChainId { get; }

    /// <inheritdoc />
    /// <remarks>It is read from the file each time, which takes some microseconds: another process may add blocks. When the file cannot be read, it is what it was.</remarks>
    public BlockRange Range
    {
        get
        {
            lock (_gate)
            {
                try
                {
                    return _range = _isClosed ? _range : ReadRange();
                }
                catch (SqliteException)
                {
                    // Who asks for a block hears what is wrong.
                    return _range;
                }
            }
        }
    }

    /// <summary>Opens a file, or makes it.</summary>
    /// <param name="path">The file.</param>
    /// <param name="chainId">The network whose blocks it is for; null: whichever it is for, and there has to be one.</param>
    /// <exception cref="BlockStoreException">
    /// The file is damaged, no block store, of a newer version, of another network, or not there and must not be made; the message says which.
    /// </exception>
    public static SqliteBlockStore Open(string path, string? chainId = null)
    {
        ArgumentException.ThrowIfNullOrEmpty(path);
        if (chainId is null && !File.Exists(path))
        {
            throw new BlockStoreException($"There is no block store '{path}'.");
        }

        List<SqliteConnection> connections = [];
        try
        {
            SqliteConnection writer = Connect(path, connections);
            Execute(writer, "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;");
            string found = Prepare(path, writer, chainId);
            return new SqliteBlockStore(path, found, writer, Connect(path, connections), Connect(path, connections));
        }
        catch (Exception e)
        {
            connections.ForEach(static connection => connection.Dispose());
            throw e is SqliteException wrong ? Explain(path, wrong) : e;
        }
    }

    /// <inheritdoc />
    public async ValueTask AppendAsync(IReadOnlyList<StoredBlock> blocks, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(blocks);
        await _writing.WaitAsync(cancellationToken).ConfigureAwait(false);
        try
        {
            Range.With(blocks);

            // SQLite knows no waiting but of the thread.
            await Task.Run(() => Write(blocks, cancellationToken), cancellationToken).ConfigureAwait(false);
        }
        catch (SqliteException e)
        {
            throw Explain(Path, e);
        }
        finally
        {
            _writing.Release();
        }
    }

    /// <inheritdoc />
    public async ValueTask<StoredBlock?> LoadAsync(long height, CancellationToken cancellationToken = default)
    {
        await _reading.WaitAsync(cancellationToken).ConfigureAwait(false);
        try
        {
            return Read(height) ?? (Range.Contains(height) ? throw Damaged(Path, $"it has lost block {height}") : null);
        }
        catch (SqliteException e)
        {
            throw Explain(Path, e);
        }
        finally
        {
            _reading.Release();
        }
    }

    /// <summary>Closes the file, once what runs is done.</summary>
    public void Dispose()
    {
        _writing.Wait();
        _reading.Wait();
        Close();
    }

    /// <inheritdoc cref="Dispose" />
    public async ValueTask DisposeAsync()
    {
        await _writing.WaitAsync().ConfigureAwait(false);
        await _reading.WaitAsync().ConfigureAwait(false);
        Close();
    }

    private void Close()
    {
        lock (_gate)
        {
            _isClosed = true;
            _selectRange.Dispose();
            _ranger.Dispose();
        }

        _reader.Dispose();
        _writer.Dispose();
        _writing.Release();
        _reading.Release();
    }

    // Pooled connections would keep the file open after its store has been closed.
    private static SqliteConnection Connect(string path, List<SqliteConnection> connections)
    {
        SqliteConnection connection = new(new SqliteConnectionStringBuilder { DataSource = path, Pooling = false, DefaultTimeout = 5 }.ToString());
        connections.Add(connection);
        connection.Open();
        return connection;
    }

    // Makes the tables in a new file; checks the kind, version and network of one that is there.
    private static string Prepare(string path, SqliteConnection connection, string? chainId)
    {
        using SqliteTransaction transaction = connection.BeginTransaction();
        long application = Scalar(connection, "PRAGMA application_id");
        long version = Scalar(connection, "PRAGMA user_version");
        if (application == 0 && version == 0 && chainId is not null && Scalar(connection, "SELECT count(*) FROM sqlite_schema") == 0)
        {
            Execute(connection, Schema + string.Create(CultureInfo.InvariantCulture, $"PRAGMA application_id = {ApplicationId}; PRAGMA user_version = {SchemaVersion};"));
            using SqliteCommand insert = connection.CreateCommand();
            insert.CommandText = "INSERT INTO chain VALUES ($id)";
            insert.Parameters.AddWithValue("$id", chainId);
            insert.ExecuteNonQuery();
            transaction.Commit();
            return chainId;
        }

        if (application != ApplicationId)
        {
            throw new BlockStoreException($"'{path}' is no block store but another file of SQLite; name another file.");
        }

        if (version != SchemaVersion)
        {
            throw new BlockStoreException($"The block store '{path}' is of version {version}, where {SchemaVersion} is known; use the program that made it, or sync again into a new file.");
        }

        using SqliteCommand select = connection.CreateCommand();
        select.CommandText = "SELECT chain_id FROM chain";
        string found = select.ExecuteScalar() as string ?? throw Damaged(path, "it does not say of which network it is");
        return chainId is null || found == chainId
            ? found
            : throw new BlockStoreException($"The block store '{path}' is of network '{found}', not of '{chainId}'; name another file.");
    }

    private BlockRange ReadRange()
    {
        using SqliteDataReader row = _selectRange.ExecuteReader();
        row.Read();
        return new BlockRange(row.GetInt64(0), row.GetInt64(1));
    }

    private void Write(IReadOnlyList<StoredBlock> blocks, CancellationToken cancellationToken)
    {
        using SqliteTransaction transaction = _writer.BeginTransaction();
        using SqliteCommand insert = _writer.CreateCommand();
        insert.CommandText = "INSERT INTO blocks VALUES ($height, $hash, $count, $parts, $block, $commit)";
        SqliteParameter[] parameters = [.. ((string[])["$height", "$hash", "$count", "$parts", "$block", "$commit"]).Select(name => insert.Parameters.AddWithValue(name, null))];
        foreach (StoredBlock block in blocks)
        {
            cancellationToken.ThrowIfCancellationRequested();
            parameters[0].Value = block.Height;
            parameters[1].Value = block.Id.Hash.ToByteArray();
            parameters[2].Value = (long)block.Id.PartSetHeader.Total;
            parameters[3].Value = block.Id.PartSetHeader.Hash.ToByteArray();
            parameters[4].Value = block.Block.ToArray();
            parameters[5].Value = block.Commit.ToArray();
            insert.ExecuteNonQuery();
        }

        transaction.Commit();
    }

    private StoredBlock? Read(long height)
    {
        using SqliteCommand select = _reader.CreateCommand();
        select.CommandText = "SELECT hash, part_count, part_hash, block, block_commit FROM blocks WHERE height = $height";
        select.Parameters.AddWithValue("$height", height);
        using SqliteDataReader row = select.ExecuteReader();
        return !row.Read() ? null
            : row.GetValue(0) is byte[] { Length: BlockHash.Size } hash
                && row.GetValue(1) is long and >= 0 and <= uint.MaxValue and var count
                && row.GetValue(2) is byte[] { Length: BlockHash.Size } parts
                && row.GetValue(3) is byte[] block
                && row.GetValue(4) is byte[] commit
            ? new StoredBlock(
                height,
                new BlockID
                {
                    Hash = UnsafeByteOperations.UnsafeWrap(hash),
                    PartSetHeader = new PartSetHeader { Total = (uint)count, Hash = UnsafeByteOperations.UnsafeWrap(parts) },
                },
                block,
                commit)
            : throw Damaged(Path, $"the row of block {height} is none of a block");
    }

    private static void Execute(SqliteConnection connection, string sql)
    {
        using SqliteCommand command = connection.CreateCommand();
        command.CommandText = sql;
        command.ExecuteNonQuery();
    }

    private static long Scalar(SqliteConnection connection, string sql)
    {
        using SqliteCommand command = connection.CreateCommand();
        command.CommandText = sql;
        return (long)command.ExecuteScalar()!;
    }

    private static BlockStoreException Damaged(string path, string how, Exception? exception = null) =>
        new($"The block store '{path}' is damaged: {how}. Restore it from a backup, or sync again into a new file.", exception);

    private static BlockStoreException Explain(string path, SqliteException e) => e.SqliteErrorCode switch
    {
        NotADatabase => Damaged(path, "it is no file of SQLite", e),
        Corrupt => Damaged(path, "its pages do not fit together", e),
        _ => new BlockStoreException($"The block store '{path}' cannot be used: {e.Message}", e),
    };
}
