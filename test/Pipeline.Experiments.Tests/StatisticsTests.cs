using Pipeline.Experiments.Measuring;

namespace Pipeline.Experiments.Tests;

[TestFixture]
public sealed class StatisticsTests
{
    [TestCase(new[] { 3.0 }, 3.0)]
    [TestCase(new[] { 9.0, 1.0, 5.0 }, 5.0)]
    [TestCase(new[] { 4.0, 1.0, 3.0, 2.0 }, 2.5)]
    public void The_median_is_the_middle_value_or_the_mean_of_the_middle_two(double[] values, double median) =>
        Assert.That(Statistics.Median(values), Is.EqualTo(median));

    [TestCase(0.0, 1.0)]
    [TestCase(0.5, 5.0)]
    [TestCase(0.51, 6.0)]
    [TestCase(0.9, 9.0)]
    [TestCase(0.99, 10.0)]
    [TestCase(1.0, 10.0)]
    public void A_percentile_is_the_smallest_value_that_so_many_do_not_exceed(double fraction, double expected) =>
        Assert.That(Statistics.Percentile([1, 2, 3, 4, 5, 6, 7, 8, 9, 10], fraction), Is.EqualTo(expected));

    [Test]
    public void Nothing_has_no_median_and_no_percentile()
    {
        Assert.That(Statistics.Median([]), Is.NaN);
        Assert.That(Statistics.Percentile([], 0.5), Is.NaN);
    }

    [Test]
    public void The_ideal_share_is_the_priority_over_the_sum_of_the_busy_channels()
    {
        Assert.That(Statistics.IdealShares([1, 2, 5, 10], [true, true, true, true]), Is.EqualTo(new[] { 1 / 18.0, 2 / 18.0, 5 / 18.0, 10 / 18.0 }).Within(1e-12));
        Assert.That(Statistics.IdealShares([1, 2, 5, 10], [true, true, true, false]), Is.EqualTo(new[] { 0.125, 0.25, 0.625, 0 }).Within(1e-12));
    }

    [Test]
    public void Shares_are_parts_of_all_bytes()
    {
        Assert.That(Statistics.Shares([10, 30, 60]), Is.EqualTo(new[] { 0.1, 0.3, 0.6 }).Within(1e-12));
        Assert.That(Statistics.Shares([0, 0]), Is.EqualTo(new[] { 0.0, 0.0 }));
    }

    [TestCase(0.21, 0.2, 0.05)]
    [TestCase(0.19, 0.2, 0.05)]
    [TestCase(0.2, 0.2, 0.0)]
    [TestCase(0.03, 0.0, 0.03)]
    public void A_deviation_is_relative_to_the_ideal_share(double share, double ideal, double deviation) =>
        Assert.That(Statistics.Deviation(share, ideal), Is.EqualTo(deviation).Within(1e-12));
}
