#include "mlh/grid/quadrature.hpp"

#include <Eigen/Eigenvalues>
#include <algorithm>
#include <cmath>
#include <numbers>
#include <stdexcept>
#include <string>

namespace mlh {

namespace {

struct Orbit {
  double a, b, c, weight;
};
struct Rule {
  int degree, points;
  std::vector<Orbit> orbits;  ///< octahedral orbits: all permutations and signs of (a, b, c)
};

const std::vector<Rule>& rules() {
  // clang-format off
  static const std::vector<Rule> table = {
    {5, 14, {
        {0.0, 0.0, 1.0, 0.06666666666666667},
        {0.5773502691896257, 0.5773502691896257, 0.5773502691896257, 0.075},
    }},
    {7, 26, {
        {0.0, 0.0, 1.0, 0.04761904761904762},
        {0.0, 0.7071067811865476, 0.7071067811865476, 0.0380952380952381},
        {0.5773502691896257, 0.5773502691896257, 0.5773502691896257, 0.03214285714285714},
    }},
    {9, 38, {
        {0.0, 0.0, 1.0, 0.009523809523809525},
        {0.5773502691896257, 0.5773502691896257, 0.5773502691896257, 0.03214285714285714},
        {0.0, 0.4597008433809831, 0.8880738339771153, 0.02857142857142857},
    }},
    {11, 50, {
        {0.0, 0.0, 1.0, 0.0126984126984127},
        {0.0, 0.7071067811865476, 0.7071067811865476, 0.02257495590828924},
        {0.5773502691896257, 0.5773502691896257, 0.5773502691896257, 0.02109375},
        {0.3015113445777636, 0.3015113445777636, 0.9045340337332909, 0.02017333553791887},
    }},
    {15, 86, {
        {0.0, 0.0, 1.0, 0.01154401154401154},
        {0.5773502691896257, 0.5773502691896257, 0.5773502691896257, 0.01194390908585628},
        {0.3696028464541502, 0.3696028464541502, 0.8525183117012676, 0.0111105557106034},
        {0.18906355288539498, 0.6943540066026664, 0.6943540066026664, 0.01187650129453714},
        {0.0, 0.3742430390903412, 0.9273306571511725, 0.01181230374690448},
    }},
    {17, 110, {
        {0.0, 0.0, 1.0, 0.0038282704949371615},
        {0.5773502691896257, 0.5773502691896257, 0.5773502691896257, 0.009793737512487513},
        {0.1851156353447362, 0.1851156353447362, 0.9651240350865941, 0.008211737283191111},
        {0.21595729184584844, 0.6904210483822922, 0.6904210483822922, 0.009942814891178103},
        {0.3956894730559419, 0.3956894730559419, 0.8287699812525923, 0.009595471336070962},
        {0.0, 0.4783690288121502, 0.8781589106040661, 0.009694996361663029},
    }},
    {19, 146, {
        {0.0, 0.0, 1.0, 0.0005996313688621381},
        {0.0, 0.7071067811865476, 0.7071067811865476, 0.007372999718620756},
        {0.5773502691896257, 0.5773502691896257, 0.5773502691896257, 0.007210515360144488},
        {0.2912988822095268, 0.6764410400114264, 0.6764410400114264, 0.007116355493117555},
        {0.4174961227965453, 0.4174961227965453, 0.8070898183595826, 0.006753829486314477},
        {0.1574676672039082, 0.1574676672039082, 0.9748886436771732, 0.007574394159054035},
        {0.1403553811713183, 0.4493328323269557, 0.8822700112603227, 0.006991087353303262},
    }},
    {21, 170, {
        {0.0, 0.0, 1.0, 0.005544842902037365},
        {0.0, 0.7071067811865476, 0.7071067811865476, 0.006071332770670752},
        {0.5773502691896257, 0.5773502691896257, 0.5773502691896257, 0.006383674773515093},
        {0.2551252621114134, 0.2551252621114134, 0.9326425903126906, 0.005183387587747791},
        {0.3007935951377015, 0.6743601460362766, 0.6743601460362766, 0.006317929009813725},
        {0.431891069671941, 0.431891069671941, 0.7917955593934921, 0.006201670006589077},
        {0.0, 0.2613931360335988, 0.9652324219764484, 0.005477143385137348},
        {0.1446630744325115, 0.4990453161796037, 0.8544158046846588, 0.005968383987681156},
    }},
    {23, 194, {
        {0.0, 0.0, 1.0, 0.001782340447244611},
        {0.0, 0.7071067811865476, 0.7071067811865476, 0.005716905949977102},
        {0.5773502691896257, 0.5773502691896257, 0.5773502691896257, 0.005573383178848737},
        {0.3141969941825863, 0.6712973442695226, 0.6712973442695226, 0.005608704082587997},
        {0.2892465627575439, 0.2892465627575439, 0.9125090968674737, 0.005158237711805383},
        {0.4446933178717437, 0.4446933178717437, 0.7774932193147671, 0.005518771467273614},
        {0.1299335447650067, 0.1299335447650067, 0.9829723027072532, 0.004106777028169394},
        {0.0, 0.3457702197611283, 0.9383192181375916, 0.005051846064614808},
        {0.159041710538353, 0.525118572443642, 0.8360360154824589, 0.005530248916233094},
    }},
    {27, 266, {
        {0.0, 0.0, 1.0, -0.001313769127326952},
        {0.0, 0.7071067811865476, 0.7071067811865476, -0.002522728704859336},
        {0.5773502691896257, 0.5773502691896257, 0.5773502691896257, 0.004186853881700583},
        {0.0945750764037131, 0.7039373391585475, 0.7039373391585475, 0.005315167977810884},
        {0.1012526248572414, 0.1012526248572414, 0.9896948074629054, 0.004047142377086219},
        {0.4647448726420539, 0.4647448726420539, 0.7536739392508157, 0.00411248239440699},
        {0.3277420654971629, 0.3277420654971629, 0.8860983449974991, 0.003595584899758782},
        {0.3513151285646334, 0.6620338663699974, 0.6620338663699974, 0.004256131351428158},
        {0.0, 0.5257311121191337, 0.8506508083520399, 0.00422958270064724},
        {0.1153112011009701, 0.3233484542692899, 0.9392279297499158, 0.004080914225780505},
        {0.2314790158712601, 0.5244939240922365, 0.8193433888191203, 0.004071467593830964},
    }},
    {29, 302, {
        {0.0, 0.0, 1.0, 0.0008545911725128148},
        {0.5773502691896257, 0.5773502691896257, 0.5773502691896257, 0.003599119285025571},
        {0.3515640345570105, 0.3515640345570105, 0.8676436245440834, 0.003449788424305883},
        {0.37103417838482095, 0.6566329410219612, 0.6566329410219612, 0.003604822601419882},
        {0.4729054132581005, 0.4729054132581005, 0.7434520429875557, 0.003576729661743367},
        {0.09618308522614784, 0.09618308522614784, 0.9907056213794081, 0.002352101413689164},
        {0.2219645236294178, 0.2219645236294178, 0.9494543172264431, 0.003108953122413675},
        {0.12923867271051442, 0.7011766416089545, 0.7011766416089545, 0.003650045807677255},
        {0.0, 0.2644152887060663, 0.964408914879206, 0.002982344963171804},
        {0.0, 0.5718955891878961, 0.8203264198277593, 0.00360082093221646},
        {0.2510034751770465, 0.5448677372580774, 0.8000727494073951, 0.003571540554273387},
        {0.1233548532583327, 0.4127724083168531, 0.9024425295330004, 0.00339231220500617},
    }},
  };
  // clang-format on
  return table;
}

void add_orbit(const Orbit& orbit, std::vector<WeightedPoint>& points) {
  std::array<double, 3> v = {orbit.a, orbit.b, orbit.c};
  std::sort(v.begin(), v.end());
  do {
    for (int signs = 0; signs < 8; ++signs) {
      Vec3 p;
      bool repeated = false;
      for (int d = 0; d < 3; ++d) {
        const bool negative = (signs >> d) & 1;
        repeated = repeated || (negative && v[d] == 0.0);
        p[d] = negative ? -v[d] : v[d];
      }
      if (!repeated) points.push_back({p, orbit.weight});
    }
  } while (std::next_permutation(v.begin(), v.end()));
}

/// Splits [begin, end) at the median of its longest axis until every group is small enough.
void split_groups(std::vector<WeightedPoint>& points, std::size_t begin, std::size_t end,
                  int max_group, std::vector<int>& groups) {
  if (end - begin <= static_cast<std::size_t>(max_group)) {
    groups.push_back(static_cast<int>(begin));
    return;
  }
  Vec3 low = points[begin].position, high = low;
  for (std::size_t p = begin; p < end; ++p) {
    low = low.cwiseMin(points[p].position);
    high = high.cwiseMax(points[p].position);
  }
  int axis = 0;
  (high - low).maxCoeff(&axis);
  // Halves in whole multiples of the group size keep all groups but the last full.
  const auto groups_needed =
      (end - begin + static_cast<std::size_t>(max_group) - 1) / static_cast<std::size_t>(max_group);
  const std::size_t middle = begin + groups_needed / 2 * static_cast<std::size_t>(max_group);
  std::nth_element(points.begin() + static_cast<std::ptrdiff_t>(begin),
                   points.begin() + static_cast<std::ptrdiff_t>(middle),
                   points.begin() + static_cast<std::ptrdiff_t>(end),
                   [axis](const WeightedPoint& a, const WeightedPoint& b) {
                     const Vec3 &p = a.position, &q = b.position;
                     if (p[axis] != q[axis]) return p[axis] < q[axis];
                     return std::lexicographical_compare(p.data(), p.data() + 3, q.data(),
                                                         q.data() + 3);
                   });
  split_groups(points, begin, middle, max_group, groups);
  split_groups(points, middle, end, max_group, groups);
}

/// Larger spheres belong to atoms with compact semicore shells. With 22 radii on O quartz is 1.6e-6
/// Ha per atom from the converged radial integral, nearly the same for every geometry: forces are
/// within 1e-7 Ha/Bohr. The angular rules leave as much.
int n_radii(double radius) {
  return std::max(20, static_cast<int>(std::lround(10.0 * radius)) + 2);
}

/// Directions at the radius x r_a: few near the nucleus, where functions are nearly round, and few
/// where the weight is so small that their error does not count.
int angular_degree(double x, double weight) {
  if (x < 0.128) return 7;
  if (x < 0.255 || weight < 1e-6) return 11;
  return x < 0.468 || weight < 3e-4 ? 17 : 23;
}

}  // namespace

std::vector<std::array<double, 2>> gauss_legendre(int n, double length) {
  if (n < 1) throw std::invalid_argument("gauss_legendre: n must be >= 1");
  std::vector<std::array<double, 2>> nodes(static_cast<std::size_t>(n));
  for (int i = 0; i < n; ++i) {
    double x = std::cos(std::numbers::pi * (i + 0.75) / (n + 0.5));
    double derivative = 1.0;
    for (int step = 0; step < 100; ++step) {  // Newton on the Legendre recurrence
      double p0 = 1.0, p1 = x;
      for (int k = 2; k <= n; ++k) {
        const double p2 = ((2.0 * k - 1.0) * x * p1 - (k - 1.0) * p0) / k;
        p0 = p1;
        p1 = p2;
      }
      derivative = n == 1 ? 1.0 : n * (x * p1 - p0) / (x * x - 1.0);
      const double change = p1 / derivative;
      x -= change;
      if (std::abs(change) < 1e-16) break;
    }
    const double weight = 2.0 / ((1.0 - x * x) * derivative * derivative);
    nodes[static_cast<std::size_t>(n - 1 - i)] = {0.5 * length * (1.0 + x), 0.5 * length * weight};
  }
  return nodes;
}

std::vector<std::array<double, 2>> sphere_radii(const SphereData& sphere, int n) {
  if (n < 1) throw std::invalid_argument("sphere_radii: n must be >= 1, got " + std::to_string(n));
  const auto fine = gauss_legendre(4 * n + 100, sphere.radius);
  const auto size = static_cast<Eigen::Index>(fine.size());
  Eigen::VectorXd r(size), q(size);
  for (Eigen::Index k = 0; k < size; ++k) {
    const auto& [radius, weight] = fine[static_cast<std::size_t>(k)];
    r[k] = radius;
    q[k] = radius * std::sqrt(weight * partition_weight(sphere, radius)[0]);
  }
  const double total = q.squaredNorm();
  q.normalize();
  // Lanczos: the recurrence of the orthogonal polynomials of this weight.
  Eigen::MatrixXd known(size, n);
  Eigen::VectorXd diagonal(n), off(n - 1);
  for (int k = 0; k < n; ++k) {
    known.col(k) = q;
    Eigen::VectorXd next = r.cwiseProduct(q);
    diagonal[k] = q.dot(next);
    if (k + 1 == n) break;
    // Twice keeps the vectors orthogonal to the last digit.
    for (int pass = 0; pass < 2; ++pass)
      next -= known.leftCols(k + 1) * (known.leftCols(k + 1).transpose() * next);
    off[k] = next.norm();
    q = next / off[k];
  }
  Eigen::SelfAdjointEigenSolver<Eigen::MatrixXd> jacobi;
  jacobi.computeFromTridiagonal(diagonal, off);
  std::vector<std::array<double, 2>> nodes;
  for (int k = 0; k < n; ++k) {
    const double first = jacobi.eigenvectors()(0, k);
    nodes.push_back({jacobi.eigenvalues()[k], total * first * first});
  }
  return nodes;
}

std::vector<WeightedPoint> lebedev(int degree) {
  for (const Rule& rule : rules()) {
    if (rule.degree != degree) continue;
    std::vector<WeightedPoint> points;
    for (const Orbit& orbit : rule.orbits) add_orbit(orbit, points);
    if (points.size() != static_cast<std::size_t>(rule.points)) {
      throw std::logic_error("lebedev: wrong number of points");
    }
    return points;
  }
  throw std::invalid_argument("lebedev: no rule of degree " + std::to_string(degree));
}

std::vector<WeightedPoint> sphere_mesh(const SphereData& sphere, int max_group,
                                       std::vector<int>& groups) {
  std::vector<WeightedPoint> points;
  for (const auto& [r, radial_weight] : sphere_radii(sphere, n_radii(sphere.radius))) {
    const double w = partition_weight(sphere, r)[0];
    const double factor = 4.0 * std::numbers::pi * radial_weight;
    for (const auto& [direction, weight] : lebedev(angular_degree(r / sphere.radius, w))) {
      points.push_back({r * direction, factor * weight});
    }
  }
  groups.clear();
  split_groups(points, 0, points.size(), max_group, groups);
  groups.push_back(static_cast<int>(points.size()));
  return points;
}

std::array<double, 2> partition_weight(const SphereData& sphere, double r) {
  if (r >= sphere.radius) return {0.0, 0.0};
  const double x = (r - sphere.center) / sphere.sigma;
  return {0.5 * std::erfc(x), -std::exp(-x * x) / (sphere.sigma * std::sqrt(std::numbers::pi))};
}

}  // namespace mlh
