using System.Diagnostics.CodeAnalysis;
using Microsoft.Data.Sqlite;
using Pipeline.Protocols.BlockSync;
using Pipeline.Protocols.Sqlite;

namespace Pipeline.Protocols.Tests.BlockSync;

/// <summary>What both stores do, and what the one in a file does about crashes and damage.</summary>
[SuppressMessage("Security", "CA2100", Justification = "The commands are those of the tests.")]
public sealed class BlockStoreTests
{
    private readonly SignedChain _chain = new(blocks: 5);
    private string _folder = "";

    [SetUp]
    public void SetUp() => _folder = Directory.CreateTempSubdirectory("block-store").FullName;

    [TearDown]
    public void TearDown() => Directory.Delete(_folder, recursive: true);

    [OneTimeTearDown]
    public void TearDownAll() => _chain.Dispose();

    private string FileName => Path.Combine(_folder, "blocks.db");

    [TestCase(false)]
    [TestCase(true)]
    public async Task What_is_kept_is_loaded(bool inFile)
    {
        using SqliteBlockStore? file = inFile ? SqliteBlockStore.Open(FileName, _chain.ChainId) : null;
        IBlockStore store = await _chain.FillAsync<IBlockStore>(file ?? (IBlockStore)new MemoryBlockStore());

        Assert.That(store.Range, Is.EqualTo(new BlockRange(1, 5)));
        for (long height = 1; height <= 5; height++)
        {
            Assert.That(await store.LoadAsync(height), Is.EqualTo(_chain[height]).Using<StoredBlock>(BlockVerifierTests.AreEqual));
        }

        Assert.That(await store.LoadAsync(0), Is.Null);
        Assert.That(await store.LoadAsync(6), Is.Null);
    }

    [TestCase(false)]
    [TestCase(true)]
    public void A_store_has_no_gaps(bool inFile)
    {
        using SqliteBlockStore? file = inFile ? SqliteBlockStore.Open(FileName, _chain.ChainId) : null;
        IBlockStore store = file ?? (IBlockStore)new MemoryBlockStore();

        Assert.That(async () => await store.AppendAsync([_chain[2], _chain[4]]), Throws.ArgumentException);
        Assert.That(store.Range.IsEmpty, Is.True);
        Assert.That(async () => await store.AppendAsync([_chain[3]]), Throws.Nothing);
        Assert.That(async () => await store.AppendAsync([_chain[3]]), Throws.ArgumentException);
        Assert.That(store.Range, Is.EqualTo(new BlockRange(3, 3)));
    }

    [Test]
    public async Task A_file_is_there_again_after_it_was_closed()
    {
        using (SqliteBlockStore store = SqliteBlockStore.Open(FileName, _chain.ChainId))
        {
            await _chain.FillAsync(store, to: 3);
        }

        using SqliteBlockStore again = SqliteBlockStore.Open(FileName);
        Assert.That(again.ChainId, Is.EqualTo(_chain.ChainId));
        Assert.That(again.Range, Is.EqualTo(new BlockRange(1, 3)));
        await again.AppendAsync([_chain[4]]);
        Assert.That(again.Range.Height, Is.EqualTo(4));
    }

    [Test]
    public async Task A_copy_of_the_files_as_a_crash_would_leave_them_has_all_that_was_kept()
    {
        using SqliteBlockStore store = SqliteBlockStore.Open(FileName, _chain.ChainId);
        await _chain.FillAsync(store, to: 4);
        string copy = Directory.CreateDirectory(Path.Combine(_folder, "copy")).FullName;
        foreach (string file in Directory.GetFiles(_folder).Where(file => !file.EndsWith("-shm", StringComparison.Ordinal)))
        {
            File.Copy(file, Path.Combine(copy, Path.GetFileName(file)));
        }

        using SqliteBlockStore crashed = SqliteBlockStore.Open(Path.Combine(copy, "blocks.db"));
        Assert.That(crashed.Range, Is.EqualTo(new BlockRange(1, 4)));
        Assert.That(await crashed.LoadAsync(4), Is.EqualTo(_chain[4]).Using<StoredBlock>(BlockVerifierTests.AreEqual));
    }

    [Test]
    public async Task When_one_of_some_blocks_cannot_be_kept_none_is()
    {
        using SqliteBlockStore store = SqliteBlockStore.Open(FileName, _chain.ChainId);
        await _chain.FillAsync(store, to: 1);
        Change("CREATE TRIGGER no_third BEFORE INSERT ON blocks WHEN NEW.height = 3 BEGIN SELECT RAISE(ABORT, 'not the third'); END");

        Assert.That(async () => await store.AppendAsync([_chain[2], _chain[3]]), Throws.TypeOf<BlockStoreException>().With.Message.Contain("not the third"));
        Assert.That(store.Range, Is.EqualTo(new BlockRange(1, 1)));
        Assert.That(await store.LoadAsync(2), Is.Null);
        Change("DROP TRIGGER no_third");
        Assert.That(async () => await store.AppendAsync([_chain[2], _chain[3]]), Throws.Nothing);
    }

    [Test]
    public async Task What_another_process_adds_is_seen()
    {
        using SqliteBlockStore served = SqliteBlockStore.Open(FileName, _chain.ChainId);
        using SqliteBlockStore synced = SqliteBlockStore.Open(FileName);
        Assert.That(served.Range.IsEmpty, Is.True);
        await _chain.FillAsync(synced, to: 3);

        Assert.That(served.Range, Is.EqualTo(new BlockRange(1, 3)));
        Assert.That(await served.LoadAsync(3), Is.EqualTo(_chain[3]).Using<StoredBlock>(BlockVerifierTests.AreEqual));
        await served.AppendAsync([_chain[4]]);
        Assert.That(synced.Range.Height, Is.EqualTo(4));
    }

    [TestCase("hash = 7")]
    [TestCase("part_count = -1")]
    [TestCase("part_count = 'many'")]
    [TestCase("block = NULL")]
    public async Task A_row_that_is_none_of_a_block_is_called_damaged(string change)
    {
        using SqliteBlockStore store = SqliteBlockStore.Open(FileName, _chain.ChainId);
        await _chain.FillAsync(store);
        Change($"ALTER TABLE blocks RENAME TO strict; CREATE TABLE blocks (height INTEGER PRIMARY KEY, hash, part_count, part_hash, block, block_commit); INSERT INTO blocks SELECT * FROM strict; UPDATE blocks SET {change} WHERE height = 3");

        Assert.That(async () => await store.LoadAsync(3), Throws.TypeOf<BlockStoreException>().With.Message.Contain("the row of block 3 is none of a block"));
        Assert.That(async () => await store.LoadAsync(4), Throws.Nothing);
    }

    [Test]
    public void A_store_of_another_network_is_refused()
    {
        SqliteBlockStore.Open(FileName, _chain.ChainId).Dispose();

        Assert.That(() => SqliteBlockStore.Open(FileName, "other"), Throws.TypeOf<BlockStoreException>().With.Message.Contain("network 'signed-chain', not of 'other'"));
    }

    [Test]
    public void A_store_that_is_not_there_is_not_made_for_reading() =>
        Assert.That(() => SqliteBlockStore.Open(FileName), Throws.TypeOf<BlockStoreException>().With.Message.Contain("There is no block store"));

    [Test]
    public void A_file_that_is_no_database_is_called_damaged()
    {
        File.WriteAllText(FileName, new string('x', 5000));

        Assert.That(() => SqliteBlockStore.Open(FileName), Throws.TypeOf<BlockStoreException>().With.Message.Contain("damaged: it is no file of SQLite"));
    }

    [TestCase("CREATE TABLE other (a)", "is no block store")]
    [TestCase("PRAGMA application_id = 1346522187; PRAGMA user_version = 9", "version 9")]
    public void A_database_of_another_kind_or_version_is_refused(string sql, string reason)
    {
        Change(sql);

        Assert.That(() => SqliteBlockStore.Open(FileName, _chain.ChainId), Throws.TypeOf<BlockStoreException>().With.Message.Contain(reason));
    }

    [Test]
    public async Task A_store_that_lost_a_block_is_called_damaged()
    {
        using (SqliteBlockStore store = SqliteBlockStore.Open(FileName, _chain.ChainId))
        {
            await _chain.FillAsync(store);
        }

        Change("DELETE FROM blocks WHERE height = 3");

        using SqliteBlockStore damaged = SqliteBlockStore.Open(FileName);
        Assert.That(async () => await damaged.LoadAsync(3), Throws.TypeOf<BlockStoreException>().With.Message.Contain("it has lost block 3"));
        Assert.That(await damaged.LoadAsync(4), Is.Not.Null);
    }

    private void Change(string sql)
    {
        using SqliteConnection connection = new($"Data Source={FileName};Pooling=False");
        connection.Open();
        using SqliteCommand command = connection.CreateCommand();
        command.CommandText = sql;
        command.ExecuteNonQuery();
    }
}
