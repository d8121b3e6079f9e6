namespace Pipeline.Tests.Support;

public sealed class AcceptedTests
{
    [TestCase("a b c", "a b c", "")]
    [TestCase("a b c", "a c", "- b")]
    [TestCase("a c", "a b c", "+ b")]
    [TestCase("a b c", "a x c", "- b;+ x")]
    [TestCase("", "a", "+ a")]
    [TestCase("a", "", "- a")]
    [TestCase("a b c d", "d a b", "+ d;- c;- d")]
    public void A_difference_is_the_lines_that_came_and_went(string was, string @is, string expected) =>
        Assert.That(
            Accepted.Difference(was.Split(' ', StringSplitOptions.RemoveEmptyEntries), @is.Split(' ', StringSplitOptions.RemoveEmptyEntries)),
            Is.EqualTo(expected.Split(';', StringSplitOptions.RemoveEmptyEntries)));
}
