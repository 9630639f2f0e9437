"""Shape arithmetic followed symbolically: integers that may be unknown, as polynomials over free dimensions."""
