using System.Collections.Immutable;
using System.Net;
using Pipeline.Cryptography;
using Pipeline.Discovery;
using Pipeline.Transport;

namespace Pipeline.Tests.Discovery;

/// <summary>Addresses for tests, and what always holds for a book of them.</summary>
internal static class Addresses
{
    public static NodeId Id(int number) => NodeId.Parse(number.ToString("x40"));

    public static NetAddress At(int number, string ip, ushort port = 26656) => new(Id(number), ip, port);

    /// <summary>An address of a node in a /16 of its own, for the first 50,000 numbers; all can be reached across the internet.</summary>
    public static NetAddress Of(int number) =>
        At(number, new IPAddress([(byte)(11 + (number % 100)), (byte)(number / 100 % 256), (byte)(number / 25_600 % 256), (byte)(number % 251)]).ToString());

    /// <summary>All that is known of an entry, as text.</summary>
    public static string Describe(AddressBookEntry entry) =>
        $"{entry.Address} by {entry.Source}, old {entry.IsOld}, in {string.Join(' ', entry.Buckets)}, {entry.Attempts} attempts, {entry.LastAttempt:O}, {entry.LastSuccess:O}";

    public static string[] Describe(AddressBook book) => [.. book.Entries.Select(Describe).Order(StringComparer.Ordinal)];

    public static void AssertIsSound(AddressBook book)
    {
        ImmutableArray<AddressBookEntry> entries = book.Entries;
        int old = entries.Count(entry => entry.IsOld);
        Assert.That((book.Count, book.OldCount, book.NewCount), Is.EqualTo((entries.Length, old, entries.Length - old)));
        Assert.That(book.NeedsMore, Is.EqualTo(entries.Length < 1000));
        HashSet<NodeId> ids = [];
        Dictionary<(bool, int), int> buckets = [];
        foreach (AddressBookEntry entry in entries)
        {
            bool isSound = ids.Add(entry.Address.Id)
                && entry.Buckets.Length >= 1
                && entry.Buckets.Length <= (entry.IsOld ? 1 : 4)
                && entry.Buckets.Distinct().Count() == entry.Buckets.Length
                && entry.Buckets.All(bucket => bucket >= 0 && bucket < (entry.IsOld ? 64 : 256))
                && Describe(book.Find(entry.Address.Id)!) == Describe(entry);
            Assert.That(isSound, Is.True, Describe(entry));
            foreach (int bucket in entry.Buckets)
            {
                buckets[(entry.IsOld, bucket)] = buckets.GetValueOrDefault((entry.IsOld, bucket)) + 1;
            }
        }

        Assert.That(buckets.Values, Is.All.LessThanOrEqualTo(64));
    }

    /// <summary>Picks and selects, and checks that what comes is what may come.</summary>
    public static void AssertChoicesAreSound(AddressBook book, int bias)
    {
        Dictionary<NodeId, AddressBookEntry> entries = book.Entries.ToDictionary(entry => entry.Address.Id);
        int old = book.OldCount;
        int size = Math.Min(250, Math.Max(Math.Min(32, entries.Count), entries.Count * 23 / 100));
        ImmutableArray<NetAddress> any = book.Select();
        ImmutableArray<NetAddress> biased = book.Select(bias);
        foreach (ImmutableArray<NetAddress> selection in (ImmutableArray<NetAddress>[])[any, biased])
        {
            Assert.That(selection.Select(address => address.Id).Distinct().Count(), Is.EqualTo(selection.Length).And.EqualTo(size));
            Assert.That(selection.All(address => entries[address.Id].Address == address), Is.True);
        }

        int wanted = Math.Clamp((int)Math.Round(size * bias / 100.0, MidpointRounding.AwayFromZero), Math.Max(0, size - old), entries.Count - old);
        Assert.That(biased.Count(address => !entries[address.Id].IsOld), Is.EqualTo(wanted));
        NetAddress? picked = book.Pick(bias);
        Assert.That(picked is null ? entries.Count == 0 : entries[picked.Id].Address == picked, Is.True);
        Assert.That(
            picked is null || (bias is not (0 or 100)) || entries[picked.Id].IsOld == (bias == 0 ? old > 0 : old == entries.Count),
            Is.True,
            "what is not wanted at all is picked only when there is nothing else");
    }
}
