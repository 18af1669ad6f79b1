#include "onnxruntime/products.h"

#include "kernels/bias_gelu/kernel.h"
#include "onnxruntime/cublaslt.h"

#include <initializer_list>
#include <new>

namespace sparsevit
{
namespace ort
{
namespace
{

cudaError_t applyGelu(ProductCall const& call, cudaStream_t stream)
{
    BiasGeluParams params{};
    params.rows = call.rows;
    params.channels = call.out;
    params.element = call.element;
    params.bias = call.bias;
    params.y = call.y;
    return launchBiasGelu(params, stream);
}

//! What a plan may use. More helps products with few rows and many terms alone, and every node has its own.
constexpr size_t kMostWorkspace{size_t{4} << 20};
constexpr uint32_t kMostAlignment{256};
constexpr int32_t kMostDevices{16};
constexpr int32_t kMostPlans{64}; //!< of a node: as many numbers of rows

//! The most that an address is known to be a multiple of.
uint32_t alignmentOf(void const* address)
{
    auto const bits = reinterpret_cast<uintptr_t>(address) | kMostAlignment;
    return static_cast<uint32_t>(bits & ~(bits - 1));
}

//! cuBLASLt's handle for the GPU at hand; null where it has none. It lives as long as the process.
lt::Handle handleOf(lt::Library const& library)
{
    static std::mutex mutex;
    static lt::Handle handles[kMostDevices]{};
    int device = 0;
    if (cudaGetDevice(&device) != cudaSuccess || device < 0 || device >= kMostDevices)
    {
        return nullptr;
    }
    std::lock_guard<std::mutex> const lock{mutex};
    if (handles[device] == nullptr && library.create(&handles[device]) != 0)
    {
        handles[device] = nullptr;
    }
    return handles[device];
}

} // namespace

struct ProductPlan
{
    ProductCall call{}; //!< of the first run: sizes and the bias hold for all, alignments at least
    lt::Handle handle{nullptr};
    lt::Description description{nullptr};
    lt::Layout weight{nullptr};
    lt::Layout x{nullptr};
    lt::Layout y{nullptr};
    lt::Choice choice{};
    bool appliesGelu{false};
    bool isGood{false};
    ProductPlan* next{nullptr};

    explicit ProductPlan(ProductCall const& given)
        : call{given}
    {
        lt::Library const* const library = lt::find();
        if (library == nullptr)
        {
            return;
        }
        handle = handleOf(*library);
        auto const type = call.element == Element::kFloat ? lt::kFloat
            : call.element == Element::kHalf              ? lt::kHalf
                                                          : lt::kBfloat16;
        // cuBLASLt counts by columns, and so sees each matrix turned: y' = weight' x'.
        auto const rows = static_cast<uint64_t>(call.rows);
        auto const in = static_cast<uint64_t>(call.in);
        auto const out = static_cast<uint64_t>(call.out);
        if (handle == nullptr || library->createDescription(&description, lt::kComputeFloat, lt::kFloat) != 0
            || library->createLayout(&weight, type, out, in, call.out) != 0
            || library->createLayout(&x, type, in, rows, call.in) != 0
            || library->createLayout(&y, type, out, rows, call.out) != 0)
        {
            return;
        }
        appliesGelu = call.element != Element::kFloat && choose(*library, lt::kGeluOfBiased);
        isGood = appliesGelu || choose(*library, lt::kNothing);
    }
    ProductPlan(ProductPlan const&) = delete;
    ProductPlan& operator=(ProductPlan const&) = delete;
    ~ProductPlan()
    {
        if (lt::Library const* const library = lt::find())
        {
            for (lt::Layout const layout : {weight, x, y})
            {
                if (layout != nullptr)
                {
                    library->destroyLayout(layout);
                }
            }
            if (description != nullptr)
            {
                library->destroyDescription(description);
            }
        }
    }

    bool fits(ProductCall const& other) const
    {
        return call.rows == other.rows && call.in == other.in && call.out == other.out
            && call.element == other.element && call.bias == other.bias && call.weight == other.weight
            && alignmentOf(call.x) == alignmentOf(other.x);
    }

private:
    bool choose(lt::Library const& library, lt::Epilogue epilogue)
    {
        void const* const bias = epilogue == lt::kNothing ? nullptr : call.bias;
        lt::Preference preference = nullptr;
        if (library.setDescription(description, lt::kEpilogue, &epilogue, sizeof(epilogue)) != 0
            || library.setDescription(description, lt::kBiasPointer, &bias, sizeof(bias)) != 0
            || library.createPreference(&preference) != 0)
        {
            return false;
        }
        uint32_t const ofOutput{16}; // of ONNX Runtime's memory at least, and not known before it is there
        uint32_t const alignments[]{alignmentOf(call.weight), alignmentOf(call.x), ofOutput, ofOutput};
        bool good = library.setPreference(preference, lt::kMostWorkspace, &kMostWorkspace, sizeof(kMostWorkspace)) == 0;
        for (int32_t i = 0; i < 4; ++i)
        {
            good = good
                && library.setPreference(preference, lt::kAlignmentOfA + i, &alignments[i], sizeof(uint32_t)) == 0;
        }
        int32_t found = 0;
        good = good && library.choose(handle, description, weight, x, y, y, preference, 1, &choice, &found) == 0
            && found == 1 && choice.state == 0 && choice.workspace <= kMostWorkspace;
        library.destroyPreference(preference);
        return good;
    }
};

Products::~Products()
{
    while (mPlans != nullptr)
    {
        ProductPlan* const plan = mPlans;
        mPlans = plan->next;
        delete plan;
    }
}

ProductPlan const* Products::planOf(ProductCall const& call)
{
    int32_t held = 0;
    ProductPlan** place = &mPlans;
    while (*place != nullptr && !(*place)->fits(call))
    {
        ++held;
        if (held == kMostPlans)
        {
            delete *place; // the one not asked for longest
            *place = nullptr;
        }
        else
        {
            place = &(*place)->next;
        }
    }
    ProductPlan* plan = *place;
    if (plan != nullptr)
    {
        *place = plan->next;
    }
    else
    {
        plan = new (std::nothrow) ProductPlan{call};
    }
    if (plan != nullptr)
    {
        plan->next = mPlans;
        mPlans = plan;
    }
    return plan;
}

size_t Products::workspace(ProductCall const& call)
{
    std::lock_guard<std::mutex> const lock{mMutex};
    ProductPlan const* const plan = call.rows == 0 ? nullptr : planOf(call);
    return plan == nullptr || !plan->isGood ? 0 : plan->choice.workspace;
}

cudaError_t Products::run(ProductCall const& call, void* workspace, cudaStream_t stream)
{
    if (call.rows == 0)
    {
        return cudaSuccess;
    }
    std::lock_guard<std::mutex> const lock{mMutex}; // a plan lasts until another takes its place
    ProductPlan const* const plan = planOf(call);
    lt::Library const* const library = lt::find();
    if (plan == nullptr || !plan->isGood || library == nullptr)
    {
        return cudaErrorNotSupported;
    }
    float const one = 1.0F;
    float const zero = 0.0F;
    if (library->multiply(plan->handle, plan->description, &one, call.weight, plan->weight, call.x, plan->x, &zero,
            call.y, plan->y, call.y, plan->y, &plan->choice.algorithm, workspace, plan->choice.workspace, stream)
        != 0)
    {
        return cudaErrorLaunchFailure;
    }
    return plan->appliesGelu ? cudaSuccess : applyGelu(call, stream);
}

} // namespace ort
} // namespace sparsevit
