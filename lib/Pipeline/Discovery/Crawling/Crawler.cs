using Pipeline.Cryptography;
using Pipeline.Transport;

namespace Pipeline.Discovery.Crawling;

/// <summary>
/// Finds the nodes of a network: visits the seeds, then whom they tell of, and so on, and says who can be reached. It is no peer of anybody: it stays only for an
/// answer. Made so that nobody can keep a crawl going for ever, fill its memory, or hide other nodes by telling of many that do not exist.
/// </summary>
public static class Crawler
{
    /// <summary>Crawls a network until everybody was visited who was heard of, or a limit is reached.</summary>
    /// <param name="seeds">Where to begin; at least one. Their hosts may be names.</param>
    /// <param name="options">Settings, or null for the defaults.</param>
    /// <param name="progress">Is told how far the crawl is, after each visit. Null: nobody is.</param>
    /// <param name="cancellationToken">Ends the crawl, which then returns what it has found.</param>
    /// <returns>The map. A network of which no seed can be reached gives one with the seeds alone.</returns>
    /// <exception cref="ArgumentException">There is no seed, or a setting makes no valid NodeInfo.</exception>
    public static async Task<NetworkMap> CrawlAsync(
        IEnumerable<NetAddress> seeds,
        CrawlOptions? options = null,
        IProgress<CrawlProgress>? progress = null,
        CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(seeds);
        NetAddress[] first = [.. seeds];
        if (first.Length == 0)
        {
            throw new ArgumentException("A crawl needs at least one node to begin with.", nameof(seeds));
        }

        options ??= new CrawlOptions();
        using NodeKey? ownKey = options.Key is null ? NodeKey.Create() : null;
        Visitor visitor = new(options, options.Key ?? ownKey!);
        visitor.EnsureIsValid();
        return await new Crawl(first, options, visitor, progress).RunAsync(cancellationToken).ConfigureAwait(false);
    }
}
